// Every way to publish: all results must outlive the work dir, bit for bit.
params.outdir = 'results'
params.store = 'store'
params.outside = "${projectDir}/outside.txt"

process MAKE {
    input:
    val n

    output:
    path 'plain.txt', emit: file
    path 'folder', emit: folder
    path 'link.txt', emit: link

    script:
    """
    echo "result ${n}" > plain.txt
    mkdir -p folder/deep/er
    seq 1 100 > folder/numbers.txt
    echo deep > folder/deep/er/leaf.txt
    ln -s ../numbers.txt folder/deep/up.txt
    echo '#!/bin/sh' > folder/tool.sh
    chmod 755 folder/tool.sh
    ln -s plain.txt link.txt
    """
}

process PUBLISH_SYMLINK {
    publishDir "${params.outdir}/symlink", mode: 'symlink'
    input: path plain
    path folder
    path outside
    output: path 'out*'
    path 'passed.txt'
    path outside
    path 'dir_out'
    script: "cat ${plain} > 'out 1.txt'; cp -a ${folder}/. dir_out; ln -s ${plain} passed.txt"
}

process PUBLISH_RELLINK {
    publishDir "${params.outdir}/rellink/nested/folders", mode: 'rellink'
    input: path plain
    path folder
    output: path 'out.txt'
    path 'dir_out'
    script: "sort ${plain} > out.txt; cp -a ${folder}/. dir_out"
}

process PUBLISH_LINK {
    publishDir "${params.outdir}/link", mode: 'link'
    input: path plain
    output: path 'out.txt'
    script: "rev ${plain} > out.txt"
}

process PUBLISH_COPY {
    publishDir "${params.outdir}/copy", mode: 'copy'
    input: path plain
    path folder
    output: path 'out.txt'
    path 'dir_out'
    script: "tr a-z A-Z < ${plain} > out.txt; cp -a ${folder}/. dir_out"
}

process PUBLISH_COPY_NO_FOLLOW {
    publishDir "${params.outdir}/copy-no-follow", mode: 'copyNoFollow'
    input: path plain
    output: path 'out.txt'
    path 'linked.txt'
    script: "wc -c < ${plain} > out.txt; ln -s \$PWD/out.txt linked.txt"
}

process PUBLISH_MOVE {
    publishDir "${params.outdir}/move", mode: 'move'
    input: path plain
    output: path 'out.txt'
    script: "cksum < ${plain} > out.txt"
}

process PUBLISH_SAVE_AS {
    publishDir "${params.outdir}/save-as", saveAs: { name -> name == 'skip.txt' ? null : "renamed/${name}" }
    publishDir "${params.outdir}/twice", pattern: 'keep.txt'
    input: path plain
    output: path '*.txt', includeInputs: false
    script: "cat ${plain} > keep.txt; echo no > skip.txt"
}

process STORED {
    storeDir params.store
    input: path plain
    output: path 'stored.txt'
    script: "cat ${plain} ${plain} > stored.txt"
}

workflow {
    MAKE(Channel.of(1))
    outside = file(params.outside)
    PUBLISH_SYMLINK(MAKE.out.file, MAKE.out.folder, outside)
    PUBLISH_RELLINK(MAKE.out.file, MAKE.out.folder)
    PUBLISH_LINK(MAKE.out.file)
    PUBLISH_COPY(MAKE.out.file, MAKE.out.folder)
    PUBLISH_COPY_NO_FOLLOW(MAKE.out.file)
    PUBLISH_MOVE(MAKE.out.file)
    PUBLISH_SAVE_AS(MAKE.out.file)
    STORED(MAKE.out.file)
}
