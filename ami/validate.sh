#!/bin/sh
# `packer validate` of the template. Debian's Packer, 1.6, has the Amazon builder built in and knows neither plugins.pkr.hcl nor what
# is newer than it; that is left out for it.
set -eu
cd "$(dirname "$0")"
version=$(packer version | sed -n 's/^Packer v\([0-9]*\.[0-9]*\).*/\1/p')
if [ "$version" != 1.6 ]; then
	packer init .
	exec packer validate .
fi
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -R provision variables.pkr.hcl "$copy/"
sed '/imds_support/d; /metadata_options {/,/^  }/d' ecsd.pkr.hcl >"$copy/ecsd.pkr.hcl"
cd "$copy"
mkdir packages
packer validate -var packages=packages .
