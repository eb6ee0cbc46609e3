"""Floor 3: one chip a file; what each is and where its facts come from: docs/chips/."""
