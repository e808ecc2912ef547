include { SCALE } from '../modules/scale'
include { TOP } from '../modules/top'

workflow NORMALISE {
    take:
    counts

    main:
    TOP(SCALE(counts))

    emit:
    TOP.out
}
