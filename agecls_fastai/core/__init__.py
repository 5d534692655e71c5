"A mistake in one line; files that are whole or not there; progress"
