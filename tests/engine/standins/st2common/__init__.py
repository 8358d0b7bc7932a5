"""Stand-in for the few modules of StackStorm's st2common that pack code imports."""
