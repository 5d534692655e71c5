"Networks times folds: run folders"
