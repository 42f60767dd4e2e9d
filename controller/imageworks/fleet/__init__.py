"""More machines than one, as values: what each host reported, where each model is, and which hosts are behind."""
