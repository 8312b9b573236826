package libos

import "testing"

func TestX(t *testing.T) {}
