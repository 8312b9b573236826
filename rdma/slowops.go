package rdma

import _ "embed"

// SlowOpsHeader is the text of slowops.h. Go's build cache does not look at headers of
// other folders, so a package whose C includes rdma/slowops.h imports this one: embedding
// makes an edit of the header an edit of this package.
//
//go:embed slowops.h
var SlowOpsHeader string
