process TOP {
    publishDir params.outdir, mode: 'copy'

    input:
    path scaled

    output:
    path 'top.csv'

    script:
    "(head -1 ${scaled}; tail -n +2 ${scaled} | sort -t, -k2,2nr -k1,1 | head -5) > top.csv"
}
