// File names that break shell scripts, terminals and naive log readers.
params.outdir = 'results'

process NAMES {
    publishDir params.outdir
    output: path 'out/*'
    script:
    '''
    mkdir out
    echo 1 > 'out/with space.txt'
    echo 2 > "out/quote'd.txt"
    echo 3 > 'out/-dash.txt'
    echo 4 > 'out/ünïcode-字.txt'
    echo 5 > 'out/semi;colon&and.txt'
    echo 6 > 'out/arrow -[SYMLINK]-> here.txt'
    echo 7 > 'out/<script>alert(1)<script>.txt'
    echo 8 > "out/$(printf 'l%.0s' $(seq 1 240)).txt"
    '''
}

workflow { NAMES() }
