# result: {"bindings": {"plot_templates": [{"template_id": "7", "widgets": [{"transform_id": "1", "key": "k", "value": 2}]}]}}
from latch import small_task, workflow
from latch.types.plots import PlotsArtifact, PlotsArtifactBindings, PlotsArtifactTemplate, Widget


@small_task
def plots() -> PlotsArtifact:
    return PlotsArtifact(bindings=PlotsArtifactBindings(plot_templates=[
        PlotsArtifactTemplate(template_id="7", widgets=[Widget(transform_id="1", key="k", value=2)])]))


@workflow
def flow() -> PlotsArtifact:
    return plots()
