// A quick task, then tasks that take params.seconds; with params.trap they ignore SIGTERM.
params.seconds = 60
params.trap = false
params.n = 1

process QUICK {
    output: path 'quick.txt'
    script: "echo quick > quick.txt"
}

process SLOW {
    publishDir 'results'
    input:
    path quick
    each n
    output: path 'slow.*'
    script:
    """
    ${params.trap ? "trap '' TERM" : ':'}
    echo begin > slow.${n}
    for i in \$(seq 1 ${(params.seconds as int) * 10}); do sleep 0.1; done
    echo end >> slow.${n}
    """
}

workflow { SLOW(QUICK(), Channel.of(1..(params.n as int))) }
