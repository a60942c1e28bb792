#!/usr/bin/env bash
# Tests the Debian package on a machine of its own: installs, configures, upgrades, removes and purges it while sessions
# are registered. The machine is a minimal Debian that systemd boots in a container and that is deleted afterwards; its
# Alyx is the sandbox.
#
#   bash tests/package.sh            builds the package, then tests it
#   bash tests/package.sh FILE.deb   tests this package
#
# Needs root and the tools that .ci/run installs. The minimal Debian is kept below target/ for the next run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# The script parses the output of other programs.
export LC_ALL=C.UTF-8

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
kept=$target/package-test
mkdir -p "$kept"
work=$(mktemp -d "$kept/run.XXXXXX")
machine=$work/machine
container= # the process that runs the machine
first=     # the machine's first process
sandbox=

finish() {
    local code=$?
    trap - EXIT INT TERM
    if ((code != 0)) && [[ -n $first ]]; then
        echo "== the log of the service"
        inside journalctl --no-pager --lines=60 --unit='alyx-registrar*' || true
    fi
    # Killing its first process ends the whole machine, and the process that runs it cleans up.
    [[ -z $container ]] || kill -KILL "${first:-$container}" 2>/dev/null || true
    [[ -z $container ]] || wait "$container" 2>/dev/null || true
    [[ -z $sandbox ]] || kill "$sandbox" 2>/dev/null || true
    rm -rf --one-file-system "$work"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

passed=0
ok() {
    passed=$((passed + 1))
    echo "ok: $*"
}

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# $1: the expectation, in words; the rest: a command that succeeds if it is met.
expect() {
    local what=$1
    shift
    "$@" || fail "$what"
    ok "$what"
}

expect_not() {
    local what=$1
    shift
    if "$@"; then fail "$what"; fi
    ok "$what"
}

same() {
    [[ $2 == "$3" ]] || fail "$1: $2, not $3"
    ok "$1"
}

inside() {
    nsenter --target "$first" --all -- "$@"
}

# Waits until a command succeeds; only a failure reaches the limit.
until_() {
    local what=$1 tries=600
    shift
    until "$@" >/dev/null 2>&1; do
        ((tries-- > 0)) || fail "$what: not within a minute"
        sleep 0.1
    done
    ok "$what"
}

# -- the machine

base=$kept/base.tar
packages=systemd,systemd-sysv,ca-certificates,man-db,passwd
if [[ ! -s $base || $(cat "$kept/base.list" 2>/dev/null) != "$packages" ]]; then
    echo "== a minimal Debian, once"
    mmdebstrap --quiet --variant=essential --include="$packages" bookworm "$work/base.tar"
    mv "$work/base.tar" "$base"
    echo "$packages" >"$kept/base.list"
fi

if (($# == 0)); then
    package=$(bash systemd/debian/build)
else
    package=$1
fi
echo "== $package"

# The next version: another number, and a sample with a new key.
next=$work/next.deb
dpkg-deb --raw-extract "$package" "$work/next"
sed -i 's/^Version: .*/Version: 9.9.9-1/' "$work/next/DEBIAN/control"
echo '# A key that came with a new version.' >>"$work/next/etc/alyx-registrar/config.yaml"
(cd "$work/next" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | xargs -0 md5sum >DEBIAN/md5sums)
dpkg-deb --root-owner-group -Znone --build "$work/next" "$next" >/dev/null

mkdir "$machine"
tar --extract --file "$base" --directory "$machine"
cp "$package" "$machine/root/this.deb"
cp "$next" "$machine/root/next.deb"
systemd-nspawn --quiet --directory="$machine" --register=no --keep-unit --console=pipe --boot \
    </dev/null >"$work/console" 2>&1 &
container=$!
first_process() {
    first=$(cat "/proc/$container/task/$container/children")
    first=${first%% *}
    [[ -n $first ]] && inside systemctl is-active --quiet multi-user.target
}
until_ "the machine is up" first_process

"$work/next/usr/bin/alyx-registrar" sandbox --listen 127.0.0.1:0 >"$work/sandbox" 2>&1 &
sandbox=$!
sandbox_is_up() { grep -q 'http://' "$work/sandbox"; }
until_ "Alyx is up" sandbox_is_up
alyx=$(grep -o 'http://[0-9.:]*' "$work/sandbox" | head -1)

# -- helpers

property() { inside systemctl show --property="$1" --value "${2:-alyx-registrar.service}"; }
active() { inside systemctl is-active --quiet "${1:-alyx-registrar.service}"; }
enabled() { [[ $(inside systemctl is-enabled alyx-registrar.service 2>/dev/null) == enabled ]]; }
there() { inside test -e "$1"; }
gone() { ! there "$1"; }
data=/data/cortexlab/Subjects/KS014/2024-05-01
# The data of a second daemon.
other=/disk2/KS014/2024-05-02/001
# Everything below the data roots except the flags and what removing a flag changes.
data_as_is() {
    inside find /data /disk2 -type f ! -name create_me.flag -printf '%p %s %m %u %g %T@\n' | sort
    inside find /data /disk2 -type d -printf '%p %m %u %g\n' | sort
}
# $1: folder of the session
make_session() {
    local top
    top=/$(cut -d/ -f2 <<<"$1")
    inside mkdir -p "$1/alf"
    inside sh -c "printf %s 'trials of $1' >$1/alf/_ibl_trials.intervals.npy"
    inside chgrp -R rig "$top"
    inside chmod -R g+rwX "$top"
}
flag() { inside touch "$1/create_me.flag"; }

# -- installed

inside dpkg --install /root/this.deb >"$work/output"
expect "the package says what to do next" grep -q 'systemctl enable --now alyx-registrar' "$work/output"
expect "every file is as packed" inside dpkg --verify alyx-registrar
expect_not "it is not started before it is configured" active
expect_not "nor at the next boot" enabled
same "it was never started" "$(property ExecMainStartTimestampMonotonic)" 0
expect "the service user exists" inside getent passwd alyx-registrar
same "owner and mode of the state folder" "$(inside stat -c '%U %a' /var/lib/alyx-registrar)" "alyx-registrar 750"
same "owner and mode of the password file" "$(inside stat -c '%U %a' /etc/alyx-registrar/password)" "alyx-registrar 600"
expect "the configuration is a conffile" \
    inside grep -qx /etc/alyx-registrar/config.yaml /var/lib/dpkg/info/alyx-registrar.conffiles
expect "systemd applies the limit on watches" \
    inside sh -c 'systemd-analyze cat-config sysctl.d 2>&1 | grep -q "^fs.inotify.max_user_watches = 1048576"'
expect "the manual page exists" inside sh -c 'man --pager=cat alyx-registrar | grep -q create_me.flag'
expect "and a page for each command" inside sh -c 'man --pager=cat alyx-registrar-scan | grep -q dry-run'
expect "bash completes its commands" inside bash -c '
    . /usr/share/bash-completion/completions/alyx-registrar
    COMP_WORDS=(alyx-registrar sta) COMP_CWORD=1
    function=$(complete -p alyx-registrar | grep -o "[-]F [^ ]*" | cut -c4-)
    "$function" alyx-registrar sta alyx-registrar && [[ " ${COMPREPLY[*]} " == *" status "* ]]'
expect "the licences of linked libraries are included" \
    inside sh -c 'zcat /usr/share/doc/alyx-registrar/THIRD-PARTY-LICENCES.gz | grep -q "^tokio .*(MIT)"'
for completions in /usr/share/zsh/vendor-completions/_alyx-registrar \
    /usr/share/fish/vendor_completions.d/alyx-registrar.fish; do
    expect "$completions" inside grep -q register-session "$completions"
done

# -- started too early

inside systemctl start alyx-registrar
waits() { [[ $(property StatusText) == *"no password or token"* ]]; }
until_ "without a password it reports this and waits" waits
expect "and keeps running" active
inside systemctl stop alyx-registrar
state() { [[ $(property ActiveState) == "$1" ]]; }
inside cp -p /etc/alyx-registrar/config.yaml /root/sample.yaml
inside sh -c 'echo "no_such_key: 1" >>/etc/alyx-registrar/config.yaml'
inside systemctl start alyx-registrar 2>/dev/null || true
until_ "with an invalid configuration it exits" state failed
same "with the exit code for it" "$(property ExecMainStatus)" 78
same "and is not restarted" "$(property NRestarts)" 0
inside systemctl reset-failed alyx-registrar
inside cp -p /root/sample.yaml /etc/alyx-registrar/config.yaml

# -- configured

inside groupadd rig
inside usermod -aG rig alyx-registrar
make_session "$data/001"
make_session "$data/002"
make_session "$data/003"
make_session "$other"
inside sed -i \
    -e "s|^  url: .*|  url: $alyx|" -e 's|^  username: rig$|  username: rig_user|' -e 's|path: /data/subjects|path: /data|' \
    /etc/alyx-registrar/config.yaml
inside sh -c 'printf rig-password >/etc/alyx-registrar/password'
inside sh -c 'cd /etc/alyx-registrar && cp -p password rig2.password && sed \
    -e "s|path: /data|path: /disk2|" -e "s|^  password_file: .*|  password_file: alyx-password|" config.yaml >rig2.yaml
    mkdir /etc/systemd/system/alyx-registrar@rig2.service.d
    printf "[Service]\nReadWritePaths=/disk2\n" >/etc/systemd/system/alyx-registrar@rig2.service.d/override.conf'
configured=$(inside md5sum /etc/alyx-registrar/config.yaml)
before=$(data_as_is)
same "there are four sessions" "$(grep -c '[.]npy ' <<<"$before")" 4

inside setpriv --reuid alyx-registrar --regid alyx-registrar --init-groups alyx-registrar check >"$work/output" \
    || { cat "$work/output"; fail "check passes before the start"; }
ok "check passes before the start"
flag "$data/001"
inside systemctl enable --quiet --now alyx-registrar
expect "it runs" active
until_ "the first session is registered" gone "$data/001/create_me.flag"
expect "its state is in the folder of the unit" there /var/lib/alyx-registrar/ledger.sqlite
flag "$other"
inside systemctl enable --quiet --now alyx-registrar@rig2
until_ "and so is that of a second daemon" gone "$other/create_me.flag"
expect "which has its own state" there /var/lib/alyx-registrar/rig2/ledger.sqlite

# -- under systemd

found_by_field() { inside journalctl --quiet ALYX_SESSION=KS014/2024-05-01/001 ALYX_OUTCOME=registered | grep -q eid=; }
until_ "the journal finds a session by its field" found_by_field

running=$(property MainPID)
inside sh -c 'cd /etc/alyx-registrar && cp -p config.yaml good && echo "wacth: 1" >>config.yaml'
inside systemctl reload alyx-registrar
refused() { [[ $(property StatusText) == *"is refused"* ]]; }
accepted() { ! refused; }
until_ "an invalid configuration is refused" refused
expect "and reported as an error, with file, line and key" \
    inside sh -c 'journalctl --quiet --unit=alyx-registrar --priority=err | grep -q "config.yaml:[0-9]*: wacth"'
inside sh -c 'cd /etc/alyx-registrar && mv good config.yaml'
inside systemctl reload alyx-registrar
until_ "the corrected one is applied" accepted
same "by the same process" "$(property MainPID)" "$running"

quick=/run/systemd/system/alyx-registrar.service.d
inside sh -c "mkdir -p $quick && printf '[Service]\nWatchdogSec=2s\nRestartSec=100ms\n' >$quick/quick.conf"
inside systemctl daemon-reload
inside systemctl restart alyx-registrar
inside systemctl kill --signal=STOP alyx-registrar
restarted() { [[ $(property NRestarts) != 0 ]] && active; }
until_ "a hanging process is restarted" restarted
inside rm -r "$quick"
inside systemctl daemon-reload
inside systemctl restart alyx-registrar
started=$(property MainPID)
second_started=$(property MainPID alyx-registrar@rig2)

# -- upgraded

# Enter at the question about the configuration keeps the current one.
inside dpkg --install /root/next.deb >"$work/output" 2>&1 <<<"" || { cat "$work/output"; fail "the upgrade"; }
expect "the new version is installed" inside sh -c 'dpkg-query -W -f "\${Version}" alyx-registrar | grep -qx 9.9.9-1'
same "the configuration is as the administrator left it" \
    "$(inside md5sum /etc/alyx-registrar/config.yaml)" "$configured"
expect "the new sample is next to it" inside grep -q 'came with a new version' /etc/alyx-registrar/config.yaml.dpkg-dist
expect "it runs again" active
expect_not "with the new program" test "$(property MainPID)" = "$started"
expect "and starts at the next boot" enabled
expect "so does the second daemon" active alyx-registrar@rig2
expect_not "with the new program too" test "$(property MainPID alyx-registrar@rig2)" = "$second_started"
flag "$data/002"
until_ "and registers" gone "$data/002/create_me.flag"

inside systemctl stop alyx-registrar
inside dpkg --force-confold --install /root/this.deb >/dev/null 2>&1
expect_not "a stopped daemon is not started" active

# -- removed

inside systemctl start alyx-registrar
inside dpkg --remove alyx-registrar >/dev/null
expect_not "removed, it does not run" active
expect_not "nor does the second daemon" active alyx-registrar@rig2
expect "the program is gone" gone /usr/bin/alyx-registrar
expect "the configuration stays" there /etc/alyx-registrar/config.yaml
expect "the password stays" there /etc/alyx-registrar/password
expect "the state stays" there /var/lib/alyx-registrar
flag "$data/003"
inside dpkg --install /root/this.deb >/dev/null
same "installed again, it finds its configuration" \
    "$(inside md5sum /etc/alyx-registrar/config.yaml)" "$configured"
expect "and starts at the next boot as before" enabled
inside systemctl start alyx-registrar
until_ "and registers what was flagged meanwhile" gone "$data/003/create_me.flag"

# -- purged

flag "$data/001"
inside dpkg --purge alyx-registrar >/dev/null 2>&1
expect "purged: the state is gone" gone /var/lib/alyx-registrar
expect "so is the password" gone /etc/alyx-registrar/password
expect "and that of the second daemon" gone /etc/alyx-registrar/rig2.password
expect "and so is the configuration" gone /etc/alyx-registrar/config.yaml
same "files of the administrator stay" "$(inside ls -A /etc/alyx-registrar)" rig2.yaml
same "nothing starts at the next boot" "$(inside find /etc/systemd/system -name 'alyx-registrar*' -type l)" ""
expect "a waiting flag stays" there "$data/001/create_me.flag"
same "the data are unchanged" "$(data_as_is)" "$before"
same "no unit has failed" "$(inside systemctl list-units --failed --no-legend 'alyx*')" ""

echo "$passed passed, 0 failed"
