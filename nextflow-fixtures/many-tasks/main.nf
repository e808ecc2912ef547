// Many small tasks: progress, counting, and the speed of a resume.
params.n = 500
params.fail = false

process SMALL {
    input: val n
    output: path "${n}.txt"
    script: "echo ${n} > ${n}.txt"
}

process SUM {
    publishDir 'results'
    input: path '*'
    output: path 'sum.txt'
    script: "cat *.txt | awk '{ s += \$1 } END { print s }' > sum.txt; ${params.fail ? 'exit 1' : ''}"
}

workflow { SUM(SMALL(Channel.of(1..(params.n as int))).collect()) }
