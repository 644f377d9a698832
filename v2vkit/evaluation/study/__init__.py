"""Preference study: side-by-side clips with hidden names, a page for raters, a server for answers, and their tally.

A study is one folder:

    public/        what raters may see: index.html, study.js, study.css, clips/<id>.mp4; any web server can serve it
    key.json       which id is which method; stays outside `public`
    answers.jsonl  what `v2v study --serve` collected, one answer a line
    answers/       files that raters downloaded and sent, put here by hand
    tally.json     what `v2v study --tally` counted
"""
