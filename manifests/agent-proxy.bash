# bash completion of agent-proxy. What flags there are it asks the program, so it cannot be stale.

_agent_proxy() {
    local word=${COMP_WORDS[COMP_CWORD]} flag='' help
    # bash takes `--flag=value` apart at the sign.
    if [[ $word == = ]]; then
        flag=${COMP_WORDS[COMP_CWORD - 1]} word=
    elif ((COMP_CWORD > 1)) && [[ ${COMP_WORDS[COMP_CWORD - 1]} == = ]]; then
        flag=${COMP_WORDS[COMP_CWORD - 2]}
    elif [[ $word != -* ]]; then
        flag=${COMP_WORDS[COMP_CWORD - 1]}
    fi
    case $flag in
    --log.level) mapfile -t COMPREPLY < <(compgen -W "debug info warn error" -- "$word") ;;
    --log.format) mapfile -t COMPREPLY < <(compgen -W "logfmt json" -- "$word") ;;
    --gateway.read-path-prefix) mapfile -t COMPREPLY < <(compgen -W "auto true false" -- "$word") ;;
    --http.config | --*-file | --config.file | --*-tls-* | --*-ca)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        ;;
    --*) ;;
    *)
        help=$("${COMP_WORDS[0]}" --help 2>/dev/null | sed -n -e 's/^  --\[no-\]\([a-z.-]*\).*/--\1\n--no-\1/p' \
            -e 's/^  \(--[A-Za-z.-]*=\).*/\1/p' -e 's/^  \(--[a-z.-]*\)\( .*\)\{0,1\}$/\1/p')
        mapfile -t COMPREPLY < <(compgen -W "$help" -- "$word")
        [[ ${COMPREPLY[0]:-} == *= ]] && compopt -o nospace
        ;;
    esac
}

complete -F _agent_proxy agent-proxy
