"""The report of an evaluation: predictions -> figures of merit -> files.

`predictions` collects what the model answers, `classes`, `confusion`, `calibration`,
`suspects` and `grad_cam` compute from it, `figures` and `page` show it, `writing` puts
the files into a folder.
"""
