# shellcheck shell=bash
# Containers for tests, with images and volumes of their own: podman under root, a Debian made by debootstrap as the base
# image, and the image of deploy/docker/Dockerfile. Sourced from the top of the tree, after tests/lib/debian_root.sh.

# containers_needs: ends the test as a failure where podman cannot be had; see debian_root_needs.
containers_needs() {
  debian_root_needs debootstrap podman podman-compose buildah runc netavark aardvark-dns iptables catatonit
}

# containers_begin FOLDER: makes podman work in FOLDER.
containers_begin() {
  containers=$1
  mkdir -p "$containers/storage" "$containers/run"
  export CONTAINERS_CONF=$containers/containers.conf CONTAINERS_STORAGE_CONF=$containers/storage.conf
  cat >"$CONTAINERS_CONF" <<END
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
END
  cat >"$CONTAINERS_STORAGE_CONF" <<END
[storage]
driver = "overlay"
graphroot = "$containers/storage"
runroot = "$containers/run"
END
}

containers_base() {
  podman image exists localhost/debian-base && return 0
  debian_root "$containers/base" && tar -C "$containers/base" -c . | podman import - localhost/debian-base &&
    rm -rf "$containers/base"
}

# build_image TAG OPTION ..: in OCI's format, for Docker's has the name of the container in which it was built, so that no two
# images have the same digest. What builds have in common is made once.
build_image() {
  local tag=$1
  shift
  buildah bud --layers --format oci --timestamp 0 --build-arg BASE=localhost/debian-base -f deploy/docker/Dockerfile \
    -t "localhost/hindcast:$tag" "$@" .
}
containers_image() { build_image latest && podman tag localhost/hindcast:latest hindcast:latest; }

# containers_end KEEP: removes containers, and unless KEEP is set, images and the folder.
containers_end() {
  podman rm -af >/dev/null 2>&1
  if [ -z "$1" ]; then
    podman rmi -af >/dev/null 2>&1
    rm -rf "$containers"
  fi
}
