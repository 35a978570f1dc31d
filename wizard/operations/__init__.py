"""What is done with deployments: run, look at, enter, take over, take away. Used by every front
end; must not import any of them."""
