#!/bin/bash
# Real NFSv4.1, the protocol of AWS EFS, on a machine whose kernel has no NFS client. nfs-ganesha serves a
# folder in its own network namespace. Each "host" is a User-Mode Linux guest with its own kernel, NFS client,
# host name and boot id; its root is this machine's /, and the export is mounted at /mnt/efs.
#
#   nfs.sh up                      start the server
#   nfs.sh run N COMMAND...        boot guest N (1 to 8), run the command in it, exit with its status
#   nfs.sh kill-server | start-server | kill-host N | down
#
# NFS_NAME names the network, the guests and the folders, so that several sets may exist. DELAY=1ms delays the
# packets of a guest. TWO=1 gives it a second, independent NFS client at /mnt/efs2. MEM is its memory.
set -u
name=${NFS_NAME:-nfresume-nfs}
dir=/tmp/$name              # pid files and configuration; not in /dev/shm, which a guest cannot see
export=/dev/shm/$name       # the folder that is served
server=10.98.1.1
here=$(cd "$(dirname "$0")" && pwd)

in_net() { nsenter --net=/run/netns/"$name" "$@"; }
alive() { readlink "/proc/$1/exe" >/dev/null 2>&1; }    # false for zombies, unlike kill -0

start_server() {
    mkdir -p "$dir/recovery" "$export" /var/run/ganesha
    chmod 1777 "$export"
    cat > "$dir/ganesha.conf" <<END
NFS_CORE_PARAM { NFS_Port = 2049; Bind_addr = $server; Protocols = 4; Enable_NLM = false;
                 Enable_RQUOTA = false; Enable_UDP = false; }
NFSv4 { Minor_Versions = 0,1; Lease_Lifetime = 10; Grace_Period = 5; Graceless = true;
        RecoveryBackend = fs; RecoveryRoot = $dir/recovery; Delegations = false;
        Only_Numeric_Owners = true; }
EXPORT { Export_Id = 1; Path = $export; Pseudo = /; Access_Type = RW; Squash = No_Root_Squash;
         SecType = sys; Protocols = 4; Transports = TCP; FSAL { Name = VFS; } }
LOG { Default_Log_Level = EVENT; }
END
    in_net ganesha.nfsd -f "$dir/ganesha.conf" -L "$dir/ganesha.log" -p "$dir/ganesha.pid" || exit 1
    for _ in $(seq 200); do in_net ss -ltn | grep -q :2049 && break; sleep .05; done
    cat "$dir/ganesha.pid" > "$dir/server.pid"
}

write_init() {
    cat > "$dir/init" <<'END'
#!/bin/bash
export LANG=C.UTF-8 TERM=dumb
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sys /sys
. "$U_DIR/host$U_N.env"
mkdir -p /dev/shm; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /mnt; mkdir -p /mnt/efs /mnt/efs2
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
for link in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do ln -sfn "/proc/self/${link#*:}" "/dev/${link%%:*}"; done
mkdir -p /mnt/lib; ln -s /usr/lib/uml/modules /mnt/lib/modules
for module in nfsv4 sch_netem; do modprobe -d /mnt $module; done
options=rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport
mount_nfs() {
    mount -i -t nfs4 -o "vers=4.1,addr=$SERVER,clientaddr=$1,$options" "$SERVER:/" "$2" ||
        { echo "cannot mount NFS"; echo 99 > "$U_DIR/host$U_N.rc"; poweroff -f; }
}
delay() { [ -z "${DELAY:-}" ] || tc qdisc add dev "$1" root netem delay "$DELAY" limit 100000; }
ip link set lo up; ip addr add "10.98.1.1$U_N/24" dev vec0; ip link set vec0 up; hostname "host$U_N"
mount_nfs "10.98.1.1$U_N" /mnt/efs; delay vec0
if [ -n "${TWO:-}" ]; then  # its own network and host name make it another client, with its own caches and locks
    unshare -n -u sleep infinity & second=$!
    for _ in $(seq 100); do [ "$(readlink /proc/$second/ns/net)" != "$(readlink /proc/self/ns/net)" ] && break; sleep .02; done
    ip link set vec1 netns $second; export SERVER DELAY options U_N; export -f mount_nfs delay
    nsenter -t $second -n -u bash -c "hostname host${U_N}b; ip link set lo up
        ip addr add 10.98.1.2$U_N/24 dev vec1; ip link set vec1 up; mount_nfs 10.98.1.2$U_N /mnt/efs2; delay vec1"
fi
export PATH=$USER_PATH HOME
cd "$FOLDER"; bash -c "$COMMAND"; echo $? > "$U_DIR/host$U_N.rc"
for place in /mnt/efs2 /mnt/efs; do mountpoint -q $place && umount $place; done; sync; poweroff -f
END
    chmod +x "$dir/init"
}

run() {
    local n=$1; shift
    write_init
    for side in a b; do
        in_net ip link show "t$n$side" >/dev/null 2>&1 && continue
        in_net ip tuntap add dev "t$n$side" mode tap
        in_net ip link set "t$n$side" master br0 up
    done
    { echo "SERVER=$server FOLDER=$(printf %q "$PWD") DELAY=${DELAY:-} TWO=${TWO:-}"
      echo "USER_PATH=$(printf %q "$PATH") HOME=$(printf %q "$HOME")"
      echo "COMMAND=$(printf %q "$(printf '%q ' "$@")")"; } > "$dir/host$n.env"
    rm -f "$dir/host$n.rc"
    # gro=1 is essential for the speed of the guest's network card.
    LD_PRELOAD=$dir/umlfp.so setsid nsenter --net=/run/netns/"$name" linux.uml mem="${MEM:-2500M}" \
        root=/dev/root rootfstype=hostfs rootflags=/ rw init="$dir/init" \
        "vec0:transport=tap,ifname=t${n}a,depth=128,gro=1" \
        ${TWO:+"vec1:transport=tap,ifname=t${n}b,depth=128,gro=1"} \
        con=null con0=null,fd:1 quiet loglevel=3 umid="$name$n" U_DIR="$dir" U_N="$n" \
        </dev/null 2>/dev/null &
    local guest=$!
    echo $guest > "$dir/host$n.pid"
    trap 'kill -9 -- -$guest' INT TERM
    wait $guest
    exit "$(cat "$dir/host$n.rc" 2>/dev/null || echo 98)"
}

case ${1:-} in
up)
    mkdir -p "$dir"
    gcc -O2 -shared -fPIC -o "$dir/umlfp.so" "$here/umlfp.c" || exit 1
    ip netns add "$name" && { in_net ip link set lo up; in_net ip link add br0 type bridge
        in_net ip addr add "$server/24" dev br0; in_net ip link set br0 up; }
    start_server ;;
run) shift; run "$@" ;;
start-server) start_server ;;
kill-server) kill -9 "$(cat "$dir/server.pid")" ;;
kill-host) kill -9 -- "-$(cat "$dir/host$2.pid")" ;;
down)
    for file in "$dir"/host*.pid; do
        [ -e "$file" ] && guest=$(cat "$file") && alive "$guest" && kill -9 -- "-$guest"
    done
    pid=$(cat "$dir/server.pid"); kill "$pid"
    for _ in $(seq 100); do alive "$pid" || break; sleep .1; done
    ip netns del "$name"; rm -rf "$dir" "$export" ;;
*) sed -n '2,13p' "$0"; exit 64 ;;
esac
