#!/bin/sh
# Healthy when git offers a repository that the image holds, as it does to a clone.
set -eu

export SCRIPT_FILENAME=/usr/lib/git-core/git-http-backend REQUEST_METHOD=GET GIT_HTTP_EXPORT_ALL=
export GIT_PROJECT_ROOT=/srv PATH_INFO=/health.git/info/refs QUERY_STRING=service=git-upload-pack
cgi-fcgi -bind -connect 127.0.0.1:9000 | grep -q '^Content-Type: application/x-git-upload-pack-advertisement'
