# shellcheck shell=bash
# debian_root FOLDER: a bare Debian 12 made by debootstrap, which installs packages from where this machine does. Needs root
# and the package debootstrap. For the long tests that need a machine on which nothing is installed.
debian_root() {
  local folder=$1 mirror file
  mirror=$(awk '/^URIs:/ { print $2; exit } /^deb / { print $2; exit }' /etc/apt/sources.list /etc/apt/sources.list.d/*.sources \
    2>/dev/null)
  debootstrap --variant=minbase --include=ca-certificates bookworm "$folder" "$mirror" || return 1
  # How packages are found and checked, Debian's and Python's.
  for file in /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/apt.conf.d /etc/apt/auth.conf.d /etc/apt/keyrings \
              /etc/pip.conf /usr/local/share/ca-certificates /etc/ssl/certs; do
    [ -e "$file" ] && cp -a --parents "$file" "$folder"
  done
  # As Debian's installer writes it.
  printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' >"$folder/etc/hosts"
  return 0
}

# debian_root_needs PACKAGE ..: ends the test that makes one where this user may not, as a failure; installs these packages of
# Debian where they are missing. Needs results.sh.
debian_root_needs() {
  if [ "$(id -u)" -ne 0 ]; then
    echo "needs root, and Debian's $*"; count 0 1; results; exit 1
  fi
  dpkg -s "$@" >/dev/null 2>&1 ||
    { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "$@"; } >/dev/null 2>&1 ||
    { echo "cannot install $*"; count 0 1; results; exit 1; }
}
