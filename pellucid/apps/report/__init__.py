"""A report over many explained answers: what mattered overall, how far methods agree, what it cost, what to try.

    from pellucid.apps.report import collect, report
    found = report([trace_a, trace_b]); found.show(); found.save("report.md")
    files = collect(["traces/", "chat.json"]); report(files.traces, origins=files.origins, passed=files.passed)

``collect`` reads files, ``reading`` brings each trace to shares by words, ``summary`` adds them up, ``conditions`` says
what was measured that asks for a second look, ``stopwords`` knows function words where its library is installed.
"""

from pellucid.apps.report.collect import Collected, Origin, Passed, collect
from pellucid.apps.report.summary import TraceReport, report

__all__ = ["Collected", "Origin", "Passed", "TraceReport", "collect", "report"]
