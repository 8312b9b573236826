# bash completion for rping-demi(1)

_rping_demi() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local options="--server --client --address --bind --source --port --count --size --verbose --validate
        --debug --persistent --self-qp --protocol --mode --size-sweep --duration --connections
        --timeout --wait --histogram --timeline --stats --metrics --doctor --json --help --help-env"

    case $prev in
    --protocol) mapfile -t COMPREPLY < <(compgen -W "auto demi rping" -- "$cur") ;;
    --mode) mapfile -t COMPREPLY < <(compgen -W "latency rate bandwidth connect" -- "$cur") ;;
    --wait) mapfile -t COMPREPLY < <(compgen -W "spin adaptive block" -- "$cur") ;;
    -a | --address | -I | --bind | -B | --source) mapfile -t COMPREPLY < <(compgen -A hostname -- "$cur") ;;
    -p | --port | -C | --count | -S | --size | --size-sweep | --duration | --connections | --timeout | --metrics) ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur") ;;
    esac
}
complete -F _rping_demi rping-demi
