// Tasks that work in a scratch folder on the node and copy their outputs back.
params.outdir = 'results'

process SORTED {
    scratch true
    publishDir params.outdir
    input: val n
    output: path 'sorted.txt'
    script: "seq ${n} -1 1 > unsorted.txt; sort -n unsorted.txt > sorted.txt"
}

workflow { SORTED(Channel.of(1000)) }
