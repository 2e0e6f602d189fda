"""Everything that crosses the boundary: what comes in, what is asked, what is sent, what is done."""
