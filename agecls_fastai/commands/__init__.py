"Each command of `agecls`: its options and what it does, side by side"
