// retry succeeds at the second try, ignore lets the run end well, finish waits for what runs
// (it fails while a file `broken` is in the launch folder; by its name as a string, because a script that
// speaks of `launchDir` itself is hashed with the folder's time, and never cached).
params.outdir = 'results'
params.broken = "${launchDir}/broken".toString()

process FLAKY {
    errorStrategy 'retry'
    maxRetries 2
    output: path 'flaky.txt'
    script: "if [ ${task.attempt} -lt 2 ]; then exit 5; fi; echo attempt ${task.attempt} > flaky.txt"
}

process OPTIONAL {
    errorStrategy 'ignore'
    input: val n
    output: path 'optional.txt'
    script: "if [ ${n} -eq 2 ]; then exit 6; fi; echo ${n} > optional.txt"
}

process FINISHING {
    errorStrategy 'finish'
    publishDir params.outdir
    input: val n
    output: path 'finishing.*'
    script: "if [ ${n} -eq 1 ] && [ -e ${params.broken} ]; then exit 7; fi; sleep 1; echo ${n} > finishing.${n}"
}

workflow {
    FLAKY()
    OPTIONAL(Channel.of(1, 2, 3))
    FINISHING(Channel.of(1, 2))
}
