"""One self-contained HTML page of what analyses found."""
