package background_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The packages that a C program gets with the library start goroutines and timers here only: a
// panic in any other goroutine would end the C program.
func TestTheLibraryStartsGoroutinesInThisPackageOnly(t *testing.T) {
	for _, folder := range []string{"libos", "libos/connfsm", "libos/hello", "libos/metrics", "datapath", "rdma", "cmd/libdemikernel"} {
		files, err := filepath.Glob(filepath.Join("../..", folder, "*.go"))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, file, nil, 0)
			require.NoError(t, err)
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					t.Errorf("%v: use background.Go", fset.Position(n.Pos()))
				case *ast.SelectorExpr:
					of, _ := n.X.(*ast.Ident)
					known := of != nil && of.Name == "background"
					if !known && (n.Sel.Name == "Go" || n.Sel.Name == "AfterFunc") {
						t.Errorf("%v: use package background", fset.Position(n.Pos()))
					}
				}
				return true
			})
		}
	}
}
