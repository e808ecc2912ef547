#!/bin/sh
# Installs what the tests on shared file systems, on Slurm and in a browser need. It works on Debian, as root; elsewhere
# those tests are skipped with a reason.
set -eu
packages='nfs-ganesha nfs-ganesha-vfs user-mode-linux kmod iproute2 gcc libc6-dev
          moosefs-master moosefs-chunkserver moosefs-client fuse3 chromium slurm-wlm munge
          nginx-light systemd prometheus'
missing=''
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
[ "$(id -u)" = 0 ] || { echo "not root: tests on NFS, MooseFS and Slurm and in a browser will be skipped"; exit 0; }
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# Keep the packages from starting their servers: the tests start servers of their own, in a separate network.
if [ ! -e /usr/sbin/policy-rc.d ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
fi
# shellcheck disable=SC2086
apt-get install -qq -y --no-install-recommends $missing > /dev/null
