#!/bin/bash
# MooseFS: a master and a chunk server in their own network namespace, and two FUSE mounts.
#
#   moosefs.sh up | down | kill-master | start-master
#
# MOOSEFS_NAME names the network and the folder /dev/shm/NAME, which has the mounts h1 and h2.
set -u
name=${MOOSEFS_NAME:-nfresume-mfs}
dir=/dev/shm/$name
host=10.99.0.1

in_net() { nsenter --net=/run/netns/"$name" "$@"; }

configure() {
    mkdir -p "$dir"/{master,chunks,disk,h1,h2}
    [ -e "$dir/master/metadata.mfs" ] || printf 'MFSM NEW' > "$dir/master/metadata.mfs"
    cat > "$dir/mfsmaster.cfg" <<END
WORKING_USER = root
WORKING_GROUP = root
LOCK_MEMORY = 0
DATA_PATH = $dir/master
EXPORTS_FILENAME = $dir/exports.cfg
TOPOLOGY_FILENAME = $dir/topology.cfg
MATOML_LISTEN_HOST = $host
MATOCS_LISTEN_HOST = $host
MATOCL_LISTEN_HOST = $host
END
    echo "* / rw,alldirs,admin,maproot=0:0" > "$dir/exports.cfg"
    : > "$dir/topology.cfg"
    cat > "$dir/mfschunkserver.cfg" <<END
WORKING_USER = root
WORKING_GROUP = root
DATA_PATH = $dir/chunks
HDD_CONF_FILENAME = $dir/disks.cfg
HDD_LEAVE_SPACE_DEFAULT = 64MiB
MASTER_HOST = $host
BIND_HOST = $host
CSSERV_LISTEN_HOST = $host
MASTER_RECONNECTION_DELAY = 1
END
    echo "$dir/disk" > "$dir/disks.cfg"
}

case ${1:-} in
up)
    configure
    ip netns add "$name"; in_net ip link set lo up; in_net ip addr add $host/32 dev lo
    in_net mfsmaster -c "$dir/mfsmaster.cfg" -a start || exit 1
    in_net mfschunkserver -c "$dir/mfschunkserver.cfg" start || exit 1
    for mount in h1 h2; do
        for _ in $(seq 50); do in_net mfsmount "$dir/$mount" -H $host -S / && break; sleep .2; done
    done
    for _ in $(seq 200); do echo x 2>/dev/null > "$dir/h1/.probe" && break; sleep .1; done
    rm "$dir/h1/.probe"
    in_net mfssettrashtime 0 "$dir/h1" ;;   # otherwise it keeps deleted data for a day
kill-master) kill -9 "$(cat "$dir"/master/.mfsmaster.lock)" ;;
start-master) in_net mfsmaster -c "$dir/mfsmaster.cfg" -a start ;;
down)
    for mount in h1 h2; do umount "$dir/$mount" 2>/dev/null || umount -l "$dir/$mount"; done
    in_net mfschunkserver -c "$dir/mfschunkserver.cfg" stop
    in_net mfsmaster -c "$dir/mfsmaster.cfg" stop
    ip netns del "$name"; rm -rf "$dir" ;;
*) sed -n '2,7p' "$0"; exit 64 ;;
esac
