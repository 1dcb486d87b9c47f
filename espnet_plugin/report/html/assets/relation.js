"use strict";
function setUpRelation() {}
