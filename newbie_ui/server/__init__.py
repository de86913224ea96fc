"""The web server around the page: routes of our own, limits, headers, and an orderly end.

    options    what the server must know, as plain values
    guard      what may come in: hosts, origins, routes, body sizes; what goes out: headers
    pace       how fast one visitor of a hosted page may send
    pictures   pictures, thumbnails, zip files and the gallery's JSON, by checked id
    janitor    temporary files by age and quota
    run        one process, one port; SIGTERM finishes the picture being made, then ends

Gradio is mounted by `newbie_ui.ui.mount`; nothing here imports it.
"""
