"""The run browser: a local web page over run folders. Shows what `reports` says; writes nothing but notes."""
