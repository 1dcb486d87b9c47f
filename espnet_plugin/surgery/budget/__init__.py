"""Plans that cost as little as is asked and do as little damage as can be found."""
