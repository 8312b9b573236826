package datapath

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSumsOfCountersLeaveNoneOut(t *testing.T) {
	var one ConnStats
	v := reflect.ValueOf(&one).Elem()
	for i := range v.NumField() {
		v.Field(i).SetUint(uint64(i) + 1)
	}
	now := map[string]bool{"Window": true, "Waiting": true, "Credit": true} // not counts
	var all, gone ConnStats
	all.Add(one)
	all.Add(one)
	gone.AddCounts(one)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		assert.EqualValues(t, 2*(i+1), reflect.ValueOf(all).Field(i).Uint(), name)
		if now[name] {
			assert.Zero(t, reflect.ValueOf(gone).Field(i).Uint(), name)
		} else {
			assert.EqualValues(t, i+1, reflect.ValueOf(gone).Field(i).Uint(), name)
		}
	}
}
