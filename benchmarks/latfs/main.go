// latfs: a loopback FUSE file system that adds a latency to each operation, to model NFS and EFS.
// usage: latfs -r 600us -w 1ms -slots 64 BACKING MNT
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

type lat struct {
	fuse.RawFileSystem
	r, w            time.Duration
	slots           chan struct{}
	nr, nw, nrd     atomic.Int64
	inflight, maxin atomic.Int64
}

func nap(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	for {
		var rem syscall.Timespec
		if err := syscall.Nanosleep(&ts, &rem); err != syscall.EINTR {
			return
		}
		ts = rem
	}
}
func (l *lat) enter(d time.Duration) {
	if l.slots != nil {
		l.slots <- struct{}{}
	}
	n := l.inflight.Add(1)
	if n > l.maxin.Load() {
		l.maxin.Store(n)
	}
	if d > 0 {
		nap(d)
	}
}
func (l *lat) leave() {
	l.inflight.Add(-1)
	if l.slots != nil {
		<-l.slots
	}
}
func (l *lat) rd() { l.nr.Add(1); l.enter(l.r) }
func (l *lat) wr() { l.nw.Add(1); l.enter(l.w) }

func (l *lat) Lookup(c <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	l.rd()
	defer l.leave()
	return l.RawFileSystem.Lookup(c, h, name, out)
}
func (l *lat) GetAttr(c <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	l.rd()
	defer l.leave()
	return l.RawFileSystem.GetAttr(c, in, out)
}
func (l *lat) SetAttr(c <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	l.wr()
	defer l.leave()
	return l.RawFileSystem.SetAttr(c, in, out)
}
func (l *lat) Mkdir(c <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	l.wr()
	defer l.leave()
	return l.RawFileSystem.Mkdir(c, in, name, out)
}
func (l *lat) Unlink(c <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	l.wr()
	defer l.leave()
	return l.RawFileSystem.Unlink(c, h, name)
}
func (l *lat) Rmdir(c <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	l.wr()
	defer l.leave()
	return l.RawFileSystem.Rmdir(c, h, name)
}
func (l *lat) Rename(c <-chan struct{}, in *fuse.RenameIn, a, b string) fuse.Status {
	l.wr()
	defer l.leave()
	return l.RawFileSystem.Rename(c, in, a, b)
}
func (l *lat) Symlink(c <-chan struct{}, h *fuse.InHeader, t, n string, out *fuse.EntryOut) fuse.Status {
	l.wr()
	defer l.leave()
	return l.RawFileSystem.Symlink(c, h, t, n, out)
}
func (l *lat) Readlink(c <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	l.rd()
	defer l.leave()
	return l.RawFileSystem.Readlink(c, h)
}
func (l *lat) Open(c <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	l.rd()
	defer l.leave()
	return l.RawFileSystem.Open(c, in, out)
}
func (l *lat) Create(c <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	l.wr()
	defer l.leave()
	return l.RawFileSystem.Create(c, in, name, out)
}
func (l *lat) Read(c <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	l.rd()
	defer l.leave()
	return l.RawFileSystem.Read(c, in, buf)
}
func (l *lat) Write(c <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	l.wr()
	defer l.leave()
	return l.RawFileSystem.Write(c, in, data)
}

// Only the first READDIR request of a directory costs latency. NFS returns EOF in its last reply, so it does not
// need the empty request with which the kernel ends a listing here. Further requests for a large directory are
// free too.
func (l *lat) ReadDir(c <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if in.Offset == 0 {
		l.nrd.Add(1)
		l.rd()
		defer l.leave()
	}
	return l.RawFileSystem.ReadDir(c, in, out)
}
func (l *lat) ReadDirPlus(c <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if in.Offset == 0 {
		l.nrd.Add(1)
		l.rd()
		defer l.leave()
	}
	return l.RawFileSystem.ReadDirPlus(c, in, out)
}

func main() {
	r := flag.Duration("r", 600*time.Microsecond, "read/lookup latency")
	w := flag.Duration("w", time.Millisecond, "mutating latency")
	slots := flag.Int("slots", 64, "NFSv4.1 session slots (0: unlimited)")
	ac := flag.Duration("ac", 30*time.Second, "attribute/entry cache timeout")
	noplus := flag.Bool("noplus", false, "no READDIRPLUS")
	flag.Parse()
	root, err := fs.NewLoopbackRoot(flag.Arg(0))
	if err != nil {
		log.Fatal(err)
	}
	opts := &fs.Options{EntryTimeout: ac, AttrTimeout: ac}
	opts.NullPermissions = true
	raw := fs.NewNodeFS(root, opts)
	l := &lat{RawFileSystem: raw, r: *r, w: *w}
	if *slots > 0 {
		l.slots = make(chan struct{}, *slots)
	}
	srv, err := fuse.NewServer(l, flag.Arg(1), &fuse.MountOptions{AllowOther: true, Name: "latfs", FsName: "latfs", MaxBackground: 256, DisableReadDirPlus: *noplus, DirectMount: true})
	if err != nil {
		log.Fatal(err)
	}
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, syscall.SIGUSR1, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		for s := range ch {
			fmt.Fprintf(os.Stderr, "reads=%d (readdir=%d) writes=%d maxinflight=%d\n", l.nr.Swap(0), l.nrd.Swap(0), l.nw.Swap(0), l.maxin.Swap(0))
			if s != syscall.SIGUSR1 {
				srv.Unmount()
				return
			}
		}
	}()
	srv.Serve()
}
