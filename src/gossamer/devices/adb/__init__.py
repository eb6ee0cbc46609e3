"""The Apple Desktop Bus, its keyboard and its mouse."""
