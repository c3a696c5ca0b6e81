#!/usr/bin/env bash
# Sends a text through imd, waits for the server's ack, and prints the messages of others as they come.
#
#     send_and_listen.sh TEXT [COUNT]        COUNT: how many to print before it ends; without: all
#
# Needs socat and jq. The protocol is explained in imd-protocol(7).
set -euo pipefail

text=${1:?"usage: send_and_listen.sh TEXT [COUNT]"}
count=${2:-}

socket=${IMCTL_SOCKET:-${XDG_RUNTIME_DIR:-}/imd/default.sock}
[ -S "$socket" ] || socket=/run/imd/default.sock

coproc imd { exec socat STDIO "UNIX-CONNECT:$socket"; }
trap 'kill "${imd_PID:-}" 2>/dev/null || true' EXIT
trap '' PIPE

lost() {
    echo "send_and_listen.sh: imd does not answer at $socket, or has ended the connection" >&2
    exit 69
}

request() { # ID METHOD PARAMS
    jq -cn --argjson id "$1" --arg method "$2" --argjson params "$3" \
        '{jsonrpc: "2.0", $id, $method, $params}' 2>/dev/null >&"${imd[1]}" || lost
}

show() { # a MESSAGE
    jq -r '.params.data | "\(.from // "server"): \(.content.message // "")"' <<<"$1"
    count=${count:+$((count - 1))}
}

# Reads until the answer to this request has come, which is then in $reply. Events may come before it.
await() { # ID
    while read -r line; do
        if jq -e --argjson id "$1" '.id == $id' <<<"$line" >/dev/null; then
            reply=$line
            return
        fi
        jq -e '.method == "MESSAGE"' <<<"$line" >/dev/null && show "$line"
    done <&"${imd[0]}"
    lost
}

# What is wrong ends the program, with the exit status that imctl has for it.
check() {
    if jq -e '.error' <<<"$reply" >/dev/null; then
        jq -r '"send_and_listen.sh: " + .error.message' <<<"$reply" >&2
        exit "$(jq '.error.code | if . > -256 then -. else 65 end' <<<"$reply")"
    fi
}

# First the subscription: so nothing is missed that comes while the ack is waited for.
request 1 subscribe '{"events": ["MESSAGE"]}'
await 1
check

request 2 send "$(jq -cn --arg text "$text" '{message: {content: {message: $text}}}')"
await 2
check
jq -r '"sent as " + .result.data.messageId' <<<"$reply"

while [ "${count:-1}" -gt 0 ]; do
    read -r line <&"${imd[0]}" || lost
    show "$line"
done
