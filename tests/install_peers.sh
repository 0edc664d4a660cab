#!/bin/sh
# Installs the Debian packages that the tests need (or those named), where it may; else says how.
set -eu
if [ $# -eq 0 ]; then
    set -- orthanc dcmtk dicom3tools ghostscript slurm-wlm slurmdbd munge mariadb-server gcc libc6-dev
    missing=""
    for program in /usr/sbin/Orthanc /usr/bin/dcmqrscp /usr/bin/dciodvfy /usr/bin/gs \
        /usr/sbin/slurmctld /usr/sbin/slurmdbd /usr/sbin/munged /usr/sbin/mariadbd /usr/bin/gcc; do
        [ -x "$program" ] || missing=yes
    done
    [ -n "$missing" ] || exit 0
fi
if [ "$(id -u)" -eq 0 ]; then
    sudo=""
elif sudo -n true 2>/dev/null; then
    sudo="sudo -n"
else
    echo "These packages are needed. Type: sudo apt-get install $*" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# A policy that starts nothing: the tests start their own servers on loopback.
policy=/usr/sbin/policy-rc.d
made=""
trap '[ -z "$made" ] || $sudo rm -f "$policy"' EXIT
trap 'exit 130' INT TERM HUP
if [ ! -e "$policy" ]; then
    made=yes
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod +x "$policy"
fi
$sudo apt-get update -qq
$sudo apt-get install -y -qq "$@"
