module lighterage/cluster/pause

go 1.24.0
