package qtoken

import _ "embed"

// Header is the text of qtoken.h. Go's build cache does not see headers of other folders:
// embedding makes an edit of the header an edit of this package, and so whoever includes
// qtoken.h imports this package, and demi too, directly.
//
//go:embed qtoken.h
var Header string
