"""Preference study: pairs of clips with hidden names, a page for raters, a server for answers, and their tally.

A study is one folder:

    public/        the raters' page for any web server: index.html, study.js, study.css, clips/<id>.mp4
    key.json       which id is which method; stays outside `public`
    answers.jsonl  answers collected by `v2v study --serve`, one per line
    answers/       files that raters downloaded and sent, put here by hand
    tally.json     result of `v2v study --tally`
"""
