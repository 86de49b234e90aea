"""The pages of the admin listener for people, as HTML that needs no script."""
