"""What an alert is and what may be done about it. Pure: values in, values out."""
