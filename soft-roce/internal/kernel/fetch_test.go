package kernel_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/soft-roce/internal/fake"
	"catmint/soft-roce/internal/kernel"
)

// debian puts a small Debian in front of PATH: apt-cache knows two metapackages and what they stand
// for, apt-get "downloads" an empty package, dpkg-deb "unpacks" a kernel from the template. Each
// call leaves a line in the returned file.
func debian(t *testing.T) (log string) {
	t.Helper()
	log = filepath.Join(t.TempDir(), "log")
	t.Setenv("FAKE_LOG", log)
	t.Setenv("FAKE_KERNEL", fake.Kernel(t, nil))
	fake.Programs(t, map[string]string{
		"apt-cache": `echo "apt-cache $*" >>"$FAKE_LOG"
case "$*" in
*search*)
	echo "linux-image-amd64 - Linux for 64-bit PCs (meta-package)"
	echo "linux-image-6.9-amd64 - Linux for 64-bit PCs (meta-package)"
	echo "linux-image-6.12-amd64 - Linux for 64-bit PCs (meta-package)" ;;
*linux-image-6.12-amd64)
	echo "Package: linux-image-6.12-amd64"
	echo "Depends: linux-image-6.12.9+deb12-amd64 (= 6.12.9-1~deb12u1)" ;;
*linux-image-amd64)
	echo "Depends: linux-image-6.1.0-56-amd64 (= 6.1.192-2)" ;;
*linux-image-5.5-amd64)
	echo "Depends: something-else" ;;
*) echo "E: No packages found" >&2; exit 100 ;;
esac`,
		"apt-get": `echo "apt-get $*" >>"$FAKE_LOG"
case "$*" in
*download*) : >package.deb ;;
esac`,
		"dpkg-deb": `echo "dpkg-deb" >>"$FAKE_LOG"; cp -r "$FAKE_KERNEL"/. "$3"`,
	})
	return log
}

func lines(t *testing.T, file string) int {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return bytes.Count(data, []byte("\n"))
}

func TestTheNewestKernelIsTheOneWithTheHighestVersion(t *testing.T) {
	log := debian(t)
	var told bytes.Buffer
	store := kernel.Store{Dir: t.TempDir(), Log: &told}
	k, err := store.Get(t.Context(), kernel.Newest)
	require.NoError(t, err)
	assert.Equal(t, fake.Release, k.Release)
	assert.Equal(t, "linux-image-6.12.9+deb12-amd64_6.12.9-1~deb12u1", filepath.Base(k.Root))
	assert.Contains(t, told.String(), "fetching linux-image-6.12.9+deb12-amd64")

	calls := lines(t, log)
	again, err := store.Get(t.Context(), kernel.Newest)
	require.NoError(t, err)
	assert.Equal(t, k, again)
	assert.Equal(t, calls, lines(t, log), "nothing is asked a second time")
}

func TestAVersionIsFoundBehindItsOwnOrTheDefaultMetapackage(t *testing.T) {
	debian(t)
	store := kernel.Store{Dir: t.TempDir()}
	k, err := store.Get(t.Context(), "6.12")
	require.NoError(t, err)
	assert.Contains(t, k.Root, "6.12.9")
	k, err = store.Get(t.Context(), "6.1")
	require.NoError(t, err)
	assert.Contains(t, k.Root, "linux-image-6.1.0-56-amd64")
}

func TestWhatTheDistributionDoesNotHaveIsAnError(t *testing.T) {
	debian(t)
	store := kernel.Store{Dir: t.TempDir()}
	_, err := store.Get(t.Context(), "7.7")
	require.ErrorContains(t, err, "offers no amd64 kernel 7.7")
	_, err = store.Get(t.Context(), "5.5")
	require.ErrorContains(t, err, "names no kernel package")
	_, err = store.Get(t.Context(), "latest")
	require.ErrorContains(t, err, `kernel "latest": want newest`)
}

func TestRefreshLooksAgainAndFetchesOnlyWhatIsNew(t *testing.T) {
	log := debian(t)
	store := kernel.Store{Dir: t.TempDir()}
	_, err := store.Get(t.Context(), "6.12")
	require.NoError(t, err)
	calls := lines(t, log)
	_, err = store.Refresh(t.Context(), "6.12")
	require.NoError(t, err)
	assert.Equal(t, calls+1, lines(t, log), "apt-cache is asked, nothing is downloaded")
}

func TestAnUnpackingThatWasCutShortIsRepeated(t *testing.T) {
	debian(t)
	store := kernel.Store{Dir: t.TempDir()}
	k, err := store.Get(t.Context(), "6.12")
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(filepath.Join(k.Root, "boot")))
	again, err := store.Get(t.Context(), "6.12")
	require.NoError(t, err)
	assert.Equal(t, k, again)
	left, err := filepath.Glob(filepath.Join(store.Dir, "kernels/.*"))
	require.NoError(t, err)
	assert.Empty(t, left, "no temporary folder is left")
}

func TestFailuresOfTheToolsAreTold(t *testing.T) {
	debian(t)
	fake.Programs(t, map[string]string{"dpkg-deb": "echo 'not a Debian archive' >&2; exit 2"})
	store := kernel.Store{Dir: t.TempDir()}
	_, err := store.Get(t.Context(), "6.12")
	require.ErrorContains(t, err, "not a Debian archive")

	fake.Programs(t, map[string]string{"dpkg-deb": "exit 0"})
	_, err = store.Get(t.Context(), "6.12")
	require.ErrorIs(t, err, kernel.ErrNoKernel, "a package without a kernel in it")

	fake.Programs(t, map[string]string{"apt-get": "echo '404 Not Found' >&2; exit 100"})
	_, err = store.Get(t.Context(), "6.12")
	require.ErrorContains(t, err, "404 Not Found")

	fake.Programs(t, map[string]string{"apt-get": "exit 0"})
	_, err = store.Get(t.Context(), "6.12")
	require.ErrorContains(t, err, "left 0 files")
}

func TestFoldersAndPackageFilesCanBeNamed(t *testing.T) {
	debian(t)
	store := kernel.Store{Dir: t.TempDir()}
	root := fake.Kernel(t, nil)
	k, err := store.Get(t.Context(), root)
	require.NoError(t, err)
	assert.Equal(t, root, k.Root)

	deb := filepath.Join(t.TempDir(), "linux-image.deb")
	_, err = store.Get(t.Context(), deb)
	require.ErrorIs(t, err, os.ErrNotExist)
	fake.Write(t, deb, "package")
	k, err = store.Get(t.Context(), deb)
	require.NoError(t, err)
	again, err := store.Get(t.Context(), deb)
	require.NoError(t, err)
	assert.Equal(t, k, again)
}

func TestACacheFolderThatCannotBeMadeIsAnError(t *testing.T) {
	debian(t)
	file := filepath.Join(t.TempDir(), "file")
	fake.Write(t, file, "")
	store := kernel.Store{Dir: filepath.Join(file, "cache")}
	_, err := store.Get(t.Context(), "6.12")
	require.ErrorContains(t, err, "cache folder")
}
