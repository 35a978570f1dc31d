"""What runs on autoscaler machines: watches the webservers, mends, replaces, adds, removes."""
