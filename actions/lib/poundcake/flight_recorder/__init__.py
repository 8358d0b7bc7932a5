"""Java Flight Recorder recordings, and S3 to keep them."""
