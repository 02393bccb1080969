"""From state and data to props: pure functions that decide what each view says."""
