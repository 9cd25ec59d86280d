"""Programs that run in processes of their own, mostly in other environments: files in, one line of JSON out."""
