// Run once when the engine is installed; the classes that it loads go into the class-data archive.
process FIRST {
    input:
    val letter

    output:
    path 'letter.txt'

    script:
    "echo $letter > letter.txt"
}

process SECOND {
    tag "second"

    input:
    path letter

    output:
    tuple val('key'), path('copy.txt')

    script:
    """
    cat $letter > copy.txt
    """
}

process THIRD {
    publishDir params.outdir, mode: 'symlink'

    input:
    path 'copy*.txt'

    output:
    path 'all.txt'

    script:
    "cat copy*.txt > all.txt"
}

workflow {
    THIRD(SECOND(FIRST(Channel.of('a', 'b'))).map { key, copy -> copy }.collect())
}
