"""Colours and spacing of the dock, legible in napari's dark and light themes."""

from __future__ import annotations

# Okabe and Ito (2008). White text on the blue has a contrast of 5.2 : 1.
BLUE = "#0072B2"
BLUE_LIT = "#1A86C4"
SKY = "#56B4E9"
VERMILION = "#D55E00"

# Pixels; arbitrary.
GAP = 4
MARGIN = 6  # arbitrary
PRIMARY_HEIGHT = 32  # arbitrary

STYLE = f"""
QPushButton {{ padding: 4px 2px; }}
QPushButton[primary="true"]:enabled {{ background: {BLUE}; color: white; font-weight: bold; }}
QPushButton[primary="true"]:enabled:hover {{ background: {BLUE_LIT}; }}
QPushButton:focus, QListView:focus {{ border: 1px solid {SKY}; }}
QListView {{ border: 1px solid transparent; border-radius: 2px; padding: 0; }}
QListView::item {{ padding: 0 4px; }}
QListView::item:selected {{ background: rgba(86, 180, 233, 70); }}
QMenu QPushButton {{ text-align: left; padding: 6px 12px; border-radius: 0; }}
QToolButton {{ padding: 4px 7px; border-radius: 2px; background: rgba(128, 128, 128, 90); }}
QToolButton#train_settings:checked {{ background: {BLUE}; color: white; }}
QToolButton[fold="true"] {{ background: transparent; padding: 2px; }}
QProgressBar {{ border: none; border-radius: 3px; background: rgba(128, 128, 128, 70); }}
QProgressBar::chunk {{ border-radius: 3px; background: {BLUE}; }}
QLabel[role="title"] {{ font-weight: bold; }}
QLabel[role="problem"] {{
    border: 1px solid {VERMILION};
    border-left: 4px solid {VERMILION};
    border-radius: 2px;
    padding: 4px 6px;
}}
"""
